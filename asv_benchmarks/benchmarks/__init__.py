"""What asv runs: time_*, track_* and peakmem_* over one workload."""
