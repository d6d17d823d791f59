"""Files: the input dataset, part files, the journal, the manifest, leases. `pyarrow` stays here."""
