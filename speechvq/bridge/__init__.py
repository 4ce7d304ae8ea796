"""Other people's weights in, ours out: one small file a published model, and its map of names."""
