"""The test degradations of the paper (Sec. 5.3), and test sets made with them."""
