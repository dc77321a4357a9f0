"""The web page of sweeps: who may look, what it is told, what it may ask for. Its scripts are in ../page."""
