"""Whether the unit was right: what people said of studies, told weekly, and given to retraining.

Reads are append-only rows of the spool (schema_2.sql)::

    decided      what the unit has said of a study, and whether anybody could see it
    reads        enter what somebody said, link it to its study, last verdicts, closures
    headers      what of film headers is kept, for films of before it was
    table        reads.csv -> reads
    structured   a radiologist's DICOM SR -> a read
    importing    files of either kind into the spool
    week         an ISO week, by the unit's clock
    intervals    Wilson's interval
    figures      counts of a week, and how reads agree with decisions
    recall       studies that nobody has dealt with yet
    report       the weekly report: figures and lists as one document
    page         that document as an HTML page, with charts
    export       films that were read otherwise than decided, of nobody, as a dataset folder
    cli          `osteoedge feedback`
"""
