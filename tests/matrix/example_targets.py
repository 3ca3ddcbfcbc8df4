"""A small matrix file without mistakes, for tests to make one in."""

GOOD = """\
version: 1
models:
  minilm:
    factory: recipe.py:build
    variants:
      f32: {dtype: float32}
      f16: {dtype: float16}
  decoder:
    factory: recipe.py:build
    variants:
      q4: {}
backends:
  ios: {preset: iphone}
  android-arm64: {preset: android}
  web: {preset: webgpu}
matrix:
  model: [minilm, decoder]
  backend: [ios, android-arm64]
"""
