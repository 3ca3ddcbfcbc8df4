"""Proofs that an artifact is what it claims to be: members, symbols, constructors, closure, numbers, kits."""
