"""Downloads versions, checks them, and puts them into models."""
