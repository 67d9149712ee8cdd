"""Embed very many crops into files, with several processes on this machine and on others."""
