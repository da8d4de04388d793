"""Which run next."""
