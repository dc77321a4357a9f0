"""A cluster, its jobs and what runs in them, in simulated time; see ../simulate.py."""
