"""Steps of the generated graph of `bench/` that a test can stop in the middle of their work."""
