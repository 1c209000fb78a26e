-- Plain PostgreSQL has no columnstore: its partitions and BRIN indexes stay as they are.
select;
