"""What a person sees of a fit: progress, verbose lines, versions."""
