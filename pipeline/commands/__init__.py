"""doit commands of Slipway's own. Each is a plugin that the entry points in pyproject.toml name."""
