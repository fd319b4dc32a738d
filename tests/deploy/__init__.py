"""What is shipped for deployment, run for real where its program can be installed."""
