"""What a reconstruction is held to: likelihoods, spectral distances, adversarial terms."""
