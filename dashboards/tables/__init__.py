"""Tables as data, and in every form: for a terminal, for papers, for other programs."""
