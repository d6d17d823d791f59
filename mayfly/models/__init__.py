"""Values and rules without I/O, clock, global randomness, Prefect or SDK."""
