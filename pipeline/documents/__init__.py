"""The JSON documents that one part writes and another reads: one frozen class each, one codec for all."""
