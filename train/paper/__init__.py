"""The paper's experiments: synthetic sets, Table 1, Figures 2 to 7, and all of it in one command."""
