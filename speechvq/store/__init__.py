"""What lies on disk: weights, manifests, code files. Everything is written whole or not at all."""
