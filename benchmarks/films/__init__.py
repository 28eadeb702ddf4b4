"""Where the time of a film goes: in every coding, small and large, alone and in a queue."""
