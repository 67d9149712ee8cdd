"""What a training run did: its stages measured afterwards, and a page to look at."""
