"""Hands the tasks of targets.yaml to doit."""

from pipeline.dodo import DOIT_CONFIG, task_slipway
