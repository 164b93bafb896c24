//! Rows come back from Arrow as they went in.

use proptest::prelude::*;

use super::*;

fn whole(text: &[u8], parameters: &[u8]) -> Whole<'static> {
    Whole { text: text.to_vec().into(), parameters: parameters.to_vec().into() }
}

fn value(kind: Type) -> BoxedStrategy<Value<'static>> {
    let bytes = prop_oneof![
        any::<Vec<u8>>(),
        "[a-z]{0,4}".prop_map(String::into_bytes),
        any::<String>().prop_map(String::into_bytes)
    ];
    match kind {
        Type::Number | Type::Time => {
            prop_oneof![Just(Value::Nothing), any::<u64>().prop_map(Value::Number)].boxed()
        }
        Type::Text | Type::Raw => {
            prop_oneof![Just(Value::Nothing), bytes.prop_map(|bytes| Value::Bytes(bytes.into()))].boxed()
        }
    }
}

fn any_row() -> impl Strategy<Value = Row<'static>> {
    Column::ALL.map(|column| value(column.kind())).to_vec().prop_map(|values| {
        let mut row = Row::default();
        for (column, value) in Column::ALL.into_iter().zip(values) {
            row.set(column, value);
        }
        row
    })
}

fn any_leaf() -> impl Strategy<Value = Leaf> {
    (any::<u64>(), any::<[u8; 4]>(), any::<u32>()).prop_map(|(index, check, key)| Leaf { index, check, key })
}

fn canonical(row: &Row<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    row.canonical(&mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_row_comes_back_with_the_same_canonical_bytes(
        rows in prop::collection::vec((any_leaf(), any_row(), any::<(Vec<u8>, Vec<u8>)>()), 1..6)
    ) {
        let mut builder = Builder::new();
        for (leaf, row, (text, parameters)) in &rows {
            builder.push(*leaf, row, &whole(text, parameters)).unwrap();
        }
        let batch = builder.finish().unwrap();
        let back = Rows::of(&batch).unwrap();
        prop_assert_eq!(back.len(), rows.len());
        for (at, (leaf, row, (text, parameters))) in rows.iter().enumerate() {
            let stored = back.get(at).unwrap();
            prop_assert_eq!(stored.leaf, *leaf);
            prop_assert_eq!(canonical(&stored.row), canonical(row));
            prop_assert_eq!((stored.text, stored.parameters), (text.as_slice(), parameters.as_slice()));
        }
    }
}

#[test]
fn a_long_text_lies_in_parts_that_are_whole_characters() {
    let odd =
        [vec![b'x'; PART_BYTES_MAX - 1], "é".repeat(PART_BYTES_MAX).into_bytes(), vec![0xff; 9]].concat();
    for text in [odd, vec![0x80; 2 * PART_BYTES_MAX + 1], vec![b'a'; PART_BYTES_MAX]] {
        let mut builder = Builder::new();
        let leaf = Leaf { index: 7, ..Leaf::default() };
        builder.push(leaf, &Row::default(), &whole(&text, &text[..text.len() / 2])).unwrap();
        builder.push(Leaf { index: 8, ..leaf }, &Row::default(), &whole(b"next", b"")).unwrap();
        let batch = builder.finish().unwrap();
        let rows = Rows::of(&batch).unwrap();
        let stored: Vec<_> = (0..rows.len()).map(|at| rows.get(at).unwrap()).collect();
        let (last, pieces) = stored.split_last().unwrap();
        assert_eq!((last.leaf.index, last.part, last.text), (8, 0, b"next".as_slice()));
        assert!(pieces.iter().zip(0..).all(|(piece, part)| (piece.leaf, piece.part) == (leaf, part)));
        assert!(pieces.iter().all(|piece| piece.text.len() <= PART_BYTES_MAX));
        let concat = |of: fn(&Stored<'_>) -> Vec<u8>| pieces.iter().flat_map(of).collect::<Vec<u8>>();
        assert!(concat(|piece| piece.text.to_vec()) == text);
        assert!(concat(|piece| piece.parameters.to_vec()) == text[..text.len() / 2]);
        if text[0] == b'x' {
            assert_eq!(pieces[0].text.len(), PART_BYTES_MAX - 1, "the character is not cut");
        }
    }
}

#[test]
fn a_batch_without_a_newer_column_is_read_and_one_of_another_type_is_not() {
    let mut builder = Builder::new();
    let mut row = Row::default();
    row.set(Column::Rows, Value::Number(3));
    builder.push(Leaf::default(), &row, &whole(b"select 1", b"")).unwrap();
    let batch = builder.finish().unwrap();
    let without = |name: &str| {
        let kept: Vec<_> = (0..batch.num_columns()).filter(|at| schema().field(*at).name() != name).collect();
        batch.project(&kept).unwrap()
    };
    let older = without(Column::Clipped.name());
    assert_eq!(Rows::of(&older).unwrap().get(0).unwrap().row, row);
    assert!(Rows::of(&older).unwrap().get(1).is_err());
    assert!(Rows::of(&without(INDEX)).is_err());

    let at = schema().index_of(Column::Login.name()).unwrap();
    let mut fields = schema().fields().to_vec();
    fields[at] = Arc::new(Field::new(Column::Login.name(), DataType::UInt64, true));
    let mut columns = batch.columns().to_vec();
    columns[at] = Arc::new(UInt64Array::from(vec![1]));
    let changed = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    assert!(Rows::of(&changed).is_err());
}

#[test]
fn exact_bytes_that_are_cut_are_an_error() {
    let mut builder = Builder::new();
    builder.push(Leaf::default(), &Row::default(), &whole(&[0xff, 0xfe], b"")).unwrap();
    let batch = builder.finish().unwrap();
    for bad in [&[TEXT_TAG][..], &[TEXT_TAG, 2, 0, 0, 0, 1], &[0x7f, 0, 0, 0, 0]] {
        let at = schema().index_of(NOT_UTF8).unwrap();
        let mut columns = batch.columns().to_vec();
        columns[at] = Arc::new(BinaryArray::from(vec![bad]));
        let bad = RecordBatch::try_new(schema(), columns).unwrap();
        assert!(Rows::of(&bad).unwrap().get(0).is_err());
    }
}
