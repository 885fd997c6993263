"""How good the embedded model's videos are: an attribute classifier, measures, and their targets."""
