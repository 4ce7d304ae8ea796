"""Hand-tuned inner loops, each with a plain-torch twin that it must agree with."""
