"""Other tools' configurations, read and written as `targets.yaml`: `doit import` calls them."""
