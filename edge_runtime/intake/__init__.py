"""How films come to the unit: a C-STORE service and watched folders.

Both do the same with a file: write it to the spool's own file system, sync it, say what it is, and
let :mod:`edge_runtime.spool.admission` take it in. Nobody is told of success before::

    dicom_scp    the C-STORE, C-ECHO and storage commitment service
    server       associations: who may have one, and how many
    transport    PDUs of bounded length in bounded time
    messages     films to the disk as they come
    peers        who may send
    folder       watched folders
    receiving    a file on its way in, and the space that is reserved for it
    understanding  film, rejection note, or neither
    header       which film a file is, and the hash of its content
"""
