"""A W&B-compatible sweep server: knows W&B's protocol and nothing of Hydra.

Importing this package is cheap; the web and GraphQL libraries are imported by the server process only.
"""

__version__ = "0.1.0"
