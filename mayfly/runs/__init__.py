"""One run and its endpoint: what the steps of the flow call, without Prefect."""
