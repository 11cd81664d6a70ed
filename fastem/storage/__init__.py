"""What outlives a process: model files, checkpoints, and writes that are whole or not there."""
