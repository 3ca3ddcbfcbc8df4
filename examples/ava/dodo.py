"""The whole build of an app: targets.yaml beside this says of what."""

from pipeline.dodo import DOIT_CONFIG, task_slipway
