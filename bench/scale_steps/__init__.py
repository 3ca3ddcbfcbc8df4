"""Steps of the generated graph of `scale.py`: what a peer does with `cp` and `cat`."""
