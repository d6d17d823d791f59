"""What the steps call: one run and its endpoint, in plain Python. Holds without Prefect."""
