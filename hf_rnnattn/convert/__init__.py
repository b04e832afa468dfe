"""Checkpoints of other toolkits, as models of this family: one file a subject, the names of weights as tables."""
