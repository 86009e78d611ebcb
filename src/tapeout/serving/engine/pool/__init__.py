"""Cache blocks with identities, compiled."""
