"""Wrong answers to the exercises of chapter 8."""
