"""HTTP as the store and the downloads use it: one policy for retries and limits, and no secret in any message."""
