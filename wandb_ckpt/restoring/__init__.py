"""Download versions, check them, and restore models from them."""
