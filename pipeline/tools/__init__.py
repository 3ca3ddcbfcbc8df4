"""The programs, SDKs, drivers and environments that actions name: where they are, and what they say they are.

The session makes a `finder.Finder`; what it finds goes into keys.
"""
