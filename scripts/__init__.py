"""Small programs for developers; nothing of the service depends on them."""
