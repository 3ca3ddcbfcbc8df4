"""Android devices behind adb: who is there, and files that travel to them. `doit deploy` calls it."""
