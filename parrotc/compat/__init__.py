"""Other systems' interfaces over this compiler."""
