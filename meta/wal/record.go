package wal

import (
	"encoding/binary"
	"hash/crc32"
)

// A record of the log, format version 1. Numbers are little-endian.
//
//	offset size
//	     0    1  op code; 0 is no record: the log ends here
//	     1    4  length of the payload in bytes: 28 to 28 + MaxData
//	             payload:
//	     5    4  CRC-32C of bytes 0 to 4 and 9 to the end of the record
//	     9    8  index, one more than that of the record before
//	    17    8  term, at least that of the record before, never 0
//	    25    8  durable: the index known to be durable when this was written,
//	             less than index
//	    33    n  data: what the command encoded itself as
//
// The records of a batch carry the same durable index: that of the last record
// of the batch before. So a record proves that all up to its durable index were
// once synced, and says nothing of the others in its batch.

// MaxData is the most bytes of data in a record.
const MaxData = 1 << 20

const (
	recordPrefix = 1 + 4                        // op code and length
	recordHeader = recordPrefix + 4 + 8 + 8 + 8 // all before the data
	maxRecord    = recordHeader + MaxData
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends the bytes of a record to dst.
func appendRecord(dst []byte, r Record, durable uint64) []byte {
	start := len(dst)
	dst = append(dst, r.Op)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(recordHeader-recordPrefix+len(r.Data)))
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint64(dst, r.Index)
	dst = binary.LittleEndian.AppendUint64(dst, r.Term)
	dst = binary.LittleEndian.AppendUint64(dst, durable)
	dst = append(dst, r.Data...)
	record := dst[start:]
	binary.LittleEndian.PutUint32(record[recordPrefix:], recordSum(record))
	return dst
}

func recordSum(record []byte) uint32 {
	sum := crc32.Update(0, castagnoli, record[:recordPrefix])
	return crc32.Update(sum, castagnoli, record[recordPrefix+4:])
}

// badRecord says why bytes are no record.
type badRecord string

func (e badRecord) Error() string { return string(e) }

const (
	errNoRecord badRecord = "bytes that belong to no record"
	errLength   badRecord = "record with an impossible length"
	errShort    badRecord = "record cut off by the end of the file"
	errSum      badRecord = "record that does not match its checksum"
	errFields   badRecord = "record with an impossible index or term"
	errSequence badRecord = "record out of sequence"
)

// parseRecord reads the record that b begins with. size is its length in bytes;
// the data is a part of b.
func parseRecord(b []byte) (r Record, durable uint64, size int, err error) {
	if len(b) == 0 || b[0] == 0 {
		return Record{}, 0, 0, errNoRecord
	}
	if len(b) < recordHeader {
		return Record{}, 0, 0, errShort
	}
	length := binary.LittleEndian.Uint32(b[1:])
	if length < recordHeader-recordPrefix || length > maxRecord-recordPrefix {
		return Record{}, 0, 0, errLength
	}
	size = recordPrefix + int(length)
	if size > len(b) {
		return Record{}, 0, 0, errShort
	}
	b = b[:size]
	if recordSum(b) != binary.LittleEndian.Uint32(b[recordPrefix:]) {
		return Record{}, 0, 0, errSum
	}
	r = Record{
		Op:    b[0],
		Index: binary.LittleEndian.Uint64(b[9:]),
		Term:  binary.LittleEndian.Uint64(b[17:]),
		Data:  b[recordHeader:],
	}
	durable = binary.LittleEndian.Uint64(b[25:])
	if r.Index == 0 || r.Term == 0 || durable >= r.Index {
		return Record{}, 0, 0, errFields
	}
	return r, durable, size, nil
}
