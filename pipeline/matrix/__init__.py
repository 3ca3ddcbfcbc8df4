"""The matrix: `targets.yaml` read, validated and expanded into values that `plan` can build from (see `load`)."""
