"""Networks that know no modality: convolutions, WaveNet stacks, conditions, critics."""
