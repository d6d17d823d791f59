"""Files: the input dataset, part files, the journal, the manifest and leases."""
