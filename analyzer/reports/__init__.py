"""7. Answers: one .sql file per question, rendered by one renderer."""
