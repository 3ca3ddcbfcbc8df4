"""Actions performed by other machines: orders go out, receipts come back, files travel through the remote store."""
