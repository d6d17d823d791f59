"""Rules and arithmetic: no I/O, no clock, no global randomness, no Prefect and no SDK."""
