"""The test degradations of the paper (Sec. 5.3), and the test sets made with them."""
